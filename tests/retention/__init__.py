"""Old tasks are pruned and leave a tombstone; tasks on hold are kept."""
