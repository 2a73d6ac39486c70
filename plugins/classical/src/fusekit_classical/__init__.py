"""Classical image fusion without learned weights, as a fusekit plugin."""
