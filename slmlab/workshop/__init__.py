"""What an instructor needs on the day: hand-outs, progress of a room, labs made new, packing."""
