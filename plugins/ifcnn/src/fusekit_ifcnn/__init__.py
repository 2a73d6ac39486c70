"""IFCNN as a fusekit plugin."""
