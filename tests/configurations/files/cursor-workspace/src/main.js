// of the project
