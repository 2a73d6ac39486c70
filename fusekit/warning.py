"""The one category of fusekit's own warnings, so that they can be filtered, and printed as one line each."""


class FusekitWarning(UserWarning):
    """Something works otherwise than one may expect: a plugin left out, weights used with another edge operator."""
