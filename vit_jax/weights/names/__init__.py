"""How other libraries name the parameters and describe the networks."""
