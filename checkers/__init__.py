"""Histories and what they prove. Pure functions: a history in, findings out."""
