"""Components that each break their contract in one way, for the tests of `fusekit.testing`; one file a kind."""
