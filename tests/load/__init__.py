"""The example application under the load of many users."""
