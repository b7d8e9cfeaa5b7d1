"""What the page of app.py does, without the page: read what people drop, find the object, draw and pack results."""
