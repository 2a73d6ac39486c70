"""``python -m fusekit``, which ``accelerate launch -m fusekit`` needs too."""

from fusekit.cli.main import run

if __name__ == "__main__":
    run()
