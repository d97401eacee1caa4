"""From a recording to events: windows, sessions, exports and plots."""
