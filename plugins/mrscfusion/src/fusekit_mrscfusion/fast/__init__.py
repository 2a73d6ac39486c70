"""The inference form of MRSCFusion."""
