"""Pure builders: what should exist, one file for each kind of child. Every builder returns a manifest as a dict."""
