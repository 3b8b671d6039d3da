"""What each answer says: from what was seen to a diagnosis with cause and remedy. Pure modules."""
