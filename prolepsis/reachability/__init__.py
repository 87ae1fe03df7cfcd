"""Who can see whom: wirings and masks, the places that edits and readouts have there, and paths between them."""
