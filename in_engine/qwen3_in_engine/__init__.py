"""What runs in vLLM's image: inside the server's process (middleware), or beside it (the batch runner).

It travels there in ConfigMaps, so it imports the standard library and vLLM, and nothing else of this repository.
"""
