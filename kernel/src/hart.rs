//! What each hart keeps for itself.
