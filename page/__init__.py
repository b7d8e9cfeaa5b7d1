"""What the page of app.py is and does: its layout; read what people drop, find the object, draw and pack results."""
