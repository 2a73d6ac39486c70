"""What the computer can do: devices, memory, threads, backends, files."""
