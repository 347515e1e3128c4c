"""What users write and read: the kinds of `serving.qwen3.dev/v1alpha1` as pydantic models, and their CRDs.

Imports nothing but pydantic.
"""

GROUP = "serving.qwen3.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
