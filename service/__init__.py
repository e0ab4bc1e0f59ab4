"""The API: how a forecast is asked for. `service.app.create_app` makes the application, `service.server.run` serves it."""
