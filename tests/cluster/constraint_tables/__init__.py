"""The tables: every constraint of the CRDs, a file a kind. See constraints.py for what a row means."""
