"""Running a service: the files that deploy a choice, what to watch, and how much is needed."""
