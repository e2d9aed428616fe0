"""Tests of the example application; they need the dependency group webapp."""
