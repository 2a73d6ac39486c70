"""The packages here are built into wheels by tests/test_third_parties.py, and tested where these are installed."""

collect_ignore_glob = ["*"]
