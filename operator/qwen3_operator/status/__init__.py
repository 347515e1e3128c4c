"""Pure: the state of an object and its live children, for a person to read. (object, children, time) -> status."""
