"""The windows of recordings and the frozen states of each."""
