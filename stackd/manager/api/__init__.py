"""The control API's handlers: one file per noun. Each turns a request into one decision or one
view of the tables; `manager.methods` puts them together."""
