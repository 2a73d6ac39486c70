"""The inference form of MACTFusion."""
