"""What formats share, and the longer parts of one."""
