"""The API: how a forecast is asked for. `app.create_app` makes the application, `server.run` serves it."""
