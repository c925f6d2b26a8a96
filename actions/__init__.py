"""The action server: what the bot does. One module a user goal; the work itself is done in `personvern`."""
