"""Batches of very many tiny photos: memory and time do not grow with them."""
