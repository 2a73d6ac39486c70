"""SwinFusion as a fusekit plugin."""
