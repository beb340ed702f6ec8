"""How ready attempts reach a worker: in this process or through Celery. Both are only a bell, never the truth."""
