"""Parents that are no plain folder, unpacked once into one: adapters, GGUF files, quantised weights."""
