"""Recipes for Google Kubernetes Engine."""
