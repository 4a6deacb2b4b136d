"""Audio and metadata of Turkish-makam, Hindustani and Carnatic music, from Dunya."""
