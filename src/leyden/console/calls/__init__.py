"""The handlers of the calls, by what they are about."""
