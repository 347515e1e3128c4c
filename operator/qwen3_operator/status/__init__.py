"""Pure: what an object and its live children look like to a person. (object, children, time) -> status."""
