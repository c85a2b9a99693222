"""One module a stage; a stage talks to the next through files, and imports no other stage."""
