"""What pictures share, and the processes of many recordings."""
