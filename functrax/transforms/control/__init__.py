"""Control flow: loops and branches whose bodies are programs inside one equation."""
