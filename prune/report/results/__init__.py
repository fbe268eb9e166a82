"""Result files in: cells, their items, their protocols, and seeds joined."""
