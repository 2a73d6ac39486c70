"""Reading and writing images, one module a family of formats."""
