"""The golden sample: a picture and what the float model finds in it, to judge a model by."""
