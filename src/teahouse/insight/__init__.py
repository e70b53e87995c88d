"""Figures about the business for those who run it: metrics now."""
