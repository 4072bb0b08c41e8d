"""Files that are read and written: checkpoints, exports, caches."""
