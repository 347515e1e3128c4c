"""What is known of vLLM: flags by release, command line, parsers, legal parallelism, memory, start-up errors."""
