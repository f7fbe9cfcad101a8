"""What a folder of another layout seems to hold, and the commands that bring it into MVTec AD's."""
