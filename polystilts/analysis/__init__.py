"""TABLES and pictures over many runs."""
