"""Requests and replies as bytes on a socket."""
