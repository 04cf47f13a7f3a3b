"""What is installed, usable and missing on this machine. Looks, and changes nothing."""
